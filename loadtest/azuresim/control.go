package azuresim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxControlBody bounds what the control API reads.
const maxControlBody = 1 << 20

// routes is the control API.
func (s *Sim) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /instances", s.getInstances)
	m.HandleFunc("GET /records", s.getRecords)
	m.HandleFunc("DELETE /records", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearRecords()
		w.WriteHeader(http.StatusNoContent)
	})
	m.HandleFunc("POST /faults", s.postRegionFault)
	m.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	m.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.CAPEM())
	})
	m.HandleFunc("PUT /identity-setting", s.putIdentity)
	for pattern, serve := range map[string]func(*Instance, http.ResponseWriter, *http.Request){
		"GET /instances/{name}":                getInstance,
		"GET /instances/{name}/records":        getInstanceRecords,
		"DELETE /instances/{name}/records":     deleteInstanceRecords,
		"GET /instances/{name}/latency":        getLatency,
		"PUT /instances/{name}/latency":        putLatency,
		"GET /instances/{name}/faults":         getFaults,
		"PUT /instances/{name}/faults":         putFaults,
		"POST /instances/{name}/faults":        postFault,
		"DELETE /instances/{name}/faults":      deleteFaults,
		"DELETE /instances/{name}/faults/{id}": deleteFault,
	} {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			i := s.Instance(r.PathValue("name"))
			if i == nil {
				refuse(w, http.StatusNotFound, fmt.Errorf("no instance %q", r.PathValue("name")))
				return
			}
			serve(i, w, r)
		})
	}
	m.Handle("GET "+identityPath, s.identity)
	m.Handle("GET "+imdsPath, s.identity)
	return m
}

// An InstanceStatus is what the control API says of an instance.
type InstanceStatus struct {
	Name           string   `json:"name"`
	Region         string   `json:"region"`
	URL            string   `json:"url"`
	Deployments    []string `json:"deployments"`
	Connections    uint64   `json:"connections"`
	Requests       uint64   `json:"requests"`
	InFlight       int      `json:"inFlight"`
	RecordsDropped uint64   `json:"recordsDropped"`
	FaultsInForce  int      `json:"faultsInForce"`
}

// Status sums the instance up.
func (i *Instance) Status() InstanceStatus {
	st := InstanceStatus{
		Name: i.Name(), Region: i.Region(), URL: i.URL(), Connections: i.Connections(), Requests: i.Requests(),
		InFlight: i.InFlight(), RecordsDropped: i.RecordsDropped(),
	}
	for _, d := range i.cfg.Deployments {
		st.Deployments = append(st.Deployments, d.Name)
	}
	for _, f := range i.Faults() {
		if !f.Ended {
			st.FaultsInForce++
		}
	}
	return st
}

func (s *Sim) getInstances(w http.ResponseWriter, _ *http.Request) {
	all := make([]InstanceStatus, 0, len(s.names))
	for _, i := range s.Instances() {
		all = append(all, i.Status())
	}
	writeJSON(w, http.StatusOK, all)
}

func getInstance(i *Instance, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, i.Status())
}

// since reads the query's lower bound for sequence numbers.
func since(w http.ResponseWriter, r *http.Request) (uint64, bool) {
	text := r.URL.Query().Get("since")
	if text == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("since = %q, want a sequence number", text))
		return 0, false
	}
	return n, true
}

func (s *Sim) getRecords(w http.ResponseWriter, r *http.Request) {
	after, ok := since(w, r)
	if !ok {
		return
	}
	out := []Record{}
	for _, rec := range s.Records() {
		if rec.Sequence > after {
			out = append(out, rec)
		}
	}
	writeJSON(w, http.StatusOK, out)
}

func getInstanceRecords(i *Instance, w http.ResponseWriter, r *http.Request) {
	if after, ok := since(w, r); ok {
		writeJSON(w, http.StatusOK, i.RecordsSince(after))
	}
}

func deleteInstanceRecords(i *Instance, w http.ResponseWriter, _ *http.Request) {
	i.ClearRecords()
	w.WriteHeader(http.StatusNoContent)
}

// latencyJSON is a Latency with durations as text.
type latencyJSON struct {
	FirstToken string  `json:"firstToken"`
	PerToken   string  `json:"perToken"`
	Tokens     int     `json:"tokens"`
	Jitter     float64 `json:"jitter"`
}

func getLatency(i *Instance, w http.ResponseWriter, _ *http.Request) {
	l := i.Latency()
	writeJSON(w, http.StatusOK, latencyJSON{l.FirstToken.String(), l.PerToken.String(), l.Tokens, l.Jitter})
}

func putLatency(i *Instance, w http.ResponseWriter, r *http.Request) {
	var in latencyJSON
	if !readJSON(w, r, &in) {
		return
	}
	first, err1 := optionalDuration(in.FirstToken)
	per, err2 := optionalDuration(in.PerToken)
	err := errors.Join(err1, err2)
	if err == nil {
		err = i.SetLatency(Latency{FirstToken: first, PerToken: per, Tokens: in.Tokens, Jitter: in.Jitter})
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	getLatency(i, w, r)
}

// optionalDuration takes nothing for zero.
func optionalDuration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

func getFaults(i *Instance, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, i.Faults())
}

func putFaults(i *Instance, w http.ResponseWriter, r *http.Request) {
	var in []Fault
	if !readJSON(w, r, &in) {
		return
	}
	if err := i.SetFault(in...); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	getFaults(i, w, r)
}

func postFault(i *Instance, w http.ResponseWriter, r *http.Request) {
	var in Fault
	if !readJSON(w, r, &in) {
		return
	}
	id, err := i.AddFault(in)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusCreated, map[string]string{"id": id})
}

func deleteFaults(i *Instance, w http.ResponseWriter, _ *http.Request) {
	i.ClearFaults()
	w.WriteHeader(http.StatusNoContent)
}

func deleteFault(i *Instance, w http.ResponseWriter, r *http.Request) {
	found, err := i.RemoveFault(r.PathValue("id"))
	switch {
	case err != nil:
		refuse(w, http.StatusInternalServerError, err)
	case !found:
		refuse(w, http.StatusNotFound, fmt.Errorf("no fault %q", r.PathValue("id")))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// postRegionFault sets one fault on every instance of ?region=.
func (s *Sim) postRegionFault(w http.ResponseWriter, r *http.Request) {
	var in Fault
	if !readJSON(w, r, &in) {
		return
	}
	n, err := s.SetRegionFault(r.URL.Query().Get("region"), in)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, err)
	case n == 0:
		refuse(w, http.StatusNotFound, fmt.Errorf("no instance in region %q", r.URL.Query().Get("region")))
	default:
		writeJSON(w, http.StatusCreated, map[string]int{"instances": n})
	}
}

func (s *Sim) putIdentity(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Lifetime string `json:"lifetime"`
		Status   int    `json:"status"`
		Delay    string `json:"delay"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	lifetime, err1 := optionalDuration(in.Lifetime)
	delay, err2 := optionalDuration(in.Delay)
	if err := errors.Join(err1, err2); err != nil || (in.Status != 0 && (in.Status < 400 || in.Status > 599)) {
		refuse(w, http.StatusBadRequest, errors.Join(err, errors.New("want lifetime, delay and a status of 400 to 599 or none")))
		return
	}
	s.SetIdentity(IdentitySetting{Lifetime: lifetime, Status: in.Status, Delay: delay})
	w.WriteHeader(http.StatusNoContent)
}

// readJSON reads one strict JSON value or refuses the request.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("read body: %w", err))
		return false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		refuse(w, http.StatusBadRequest, errors.New("read body: more than one value"))
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(mustJSON(v), '\n'))
}

func refuse(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}
