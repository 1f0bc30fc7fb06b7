package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

const (
	maxJSONBytes = 64 << 10
	// A write with all its tries: 4 × 5 s and the waits between them.
	writeLimit = 25 * time.Second
	// The status in the log of a request whose caller has hung up.
	statusGone = 499
)

func fail(c *gin.Context, status int, code, message string) {
	c.AbortWithStatusJSON(status, client.ErrorReply{Error: client.ErrorBody{Code: code, Message: message}})
}

// failWith is the one table from errors to replies. What is not in it is a 500
// whose text stays in our log.
func (s *server) failWith(c *gin.Context, err error) {
	if e, ok := errors.AsType[*store.InvalidError](err); ok {
		fail(c, http.StatusBadRequest, client.CodeInvalidRequest, e.Error())
		return
	}
	if e, ok := errors.AsType[*store.ConflictError](err); ok {
		c.AbortWithStatusJSON(http.StatusConflict, client.ErrorReply{Error: client.ErrorBody{
			Code: client.CodeConflict, Message: e.Error() + "; read it, then publish on top of it",
			Conflict: &client.Publication{Serial: e.Serial, Boundary: e.Boundary, Digest: e.Digest, Author: e.Author, Message: e.Message, Time: e.Time},
		}})
		return
	}
	if e, ok := errors.AsType[*store.UncertainError](err); ok {
		s.log.Warn().Err(err).Msg("outcome of a publication is unknown")
		fail(c, http.StatusServiceUnavailable, client.CodeUncertain,
			fmt.Sprintf("policy %d may or may not have been published; publish it again, which does no harm", e.Serial))
		return
	}
	if _, ok := errors.AsType[*store.UnavailableError](err); ok {
		s.log.Warn().Err(err).Msg("etcd is not available")
		fail(c, http.StatusServiceUnavailable, client.CodeUnavailable, "the etcd of the boundary is not available; nothing was changed")
		return
	}
	if e, ok := errors.AsType[*signing.FormatError](err); ok {
		s.log.Error().Err(err).Msg("stored value is in another format")
		fail(c, http.StatusBadGateway, client.CodeNotGenuine, e.Error())
		return
	}
	if _, ok := errors.AsType[*store.MalformedError](err); ok {
		s.log.Error().Err(err).Msg("stored value is malformed")
		fail(c, http.StatusBadGateway, client.CodeNotGenuine, "what is stored was damaged or tampered with; publish again to mend it")
		return
	}
	for _, absent := range []error{store.ErrNoPolicy, store.ErrNoSerial, store.ErrNoOrder} {
		if errors.Is(err, absent) {
			fail(c, http.StatusNotFound, client.CodeNotFound, absent.Error())
			return
		}
	}
	if errors.Is(err, context.Canceled) { // the caller hung up during a read; nobody sees the answer
		c.AbortWithStatus(statusGone)
		return
	}
	s.log.Error().Err(err).Msg("operator request ended in an unexpected error")
	fail(c, http.StatusInternalServerError, client.CodeInternal, "internal error; the control plane's log says more")
}

// body reads a request's body of at most so many bytes, or one more: then what
// reads it can say what is wrong. When it returns false it has answered.
func body(c *gin.Context, most int64) ([]byte, bool) {
	text, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, most+1))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		fail(c, http.StatusRequestEntityTooLarge, client.CodeTooLarge, fmt.Sprintf("the body may have at most %d bytes", most))
		return nil, false
	}
	if err != nil {
		fail(c, http.StatusBadRequest, client.CodeInvalidRequest, "the body could not be read")
		return nil, false
	}
	return text, true
}

// jsonBody reads a body strictly. When it returns false it has answered.
func jsonBody(c *gin.Context, into any) bool {
	text, ok := body(c, maxJSONBytes)
	if !ok {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if _, more := dec.Token(); err == nil && !errors.Is(more, io.EOF) { // More would take a bracket for the end
		err = errors.New("something follows the object")
	}
	if err != nil {
		fail(c, http.StatusBadRequest, client.CodeInvalidRequest, "the body is not the JSON object that belongs here: "+err.Error())
		return false
	}
	return true
}

// limitOf reads ?limit=. When it returns false it has answered.
func limitOf(c *gin.Context, standard, most int) (int, bool) {
	text := c.Query("limit")
	if text == "" {
		return standard, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		fail(c, http.StatusBadRequest, client.CodeInvalidRequest, "limit: want a number from 1")
		return 0, false
	}
	return min(n, most), true
}

// serialOf reads a serial from the query; nil when there is none. When it
// returns false it has answered.
func serialOf(c *gin.Context, name string) (*uint64, bool) {
	text := c.Query(name)
	if text == "" {
		return nil, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		fail(c, http.StatusBadRequest, client.CodeInvalidRequest, name+": want a serial, which is a number")
		return nil, false
	}
	return &n, true
}
