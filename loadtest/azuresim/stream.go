package azuresim

import (
	"net/http"
	"time"
)

// A stream sends server-sent events in Azure's framing: "data: " JSON, a blank
// line, no event field.
type stream struct {
	x      *exchange
	frames int  // sent so far
	eager  bool // every frame goes out at once
}

// openStream sends the head; it leaves with the first frame.
func openStream(x *exchange, eager bool) *stream {
	x.header(http.StatusOK, "text/event-stream; charset=utf-8", nil)
	s := &stream{x: x, eager: eager}
	if f := x.fault; f != nil {
		s.eager = true
		switch f.Kind {
		case FaultResetAfterHead:
			x.flush()
			x.reset()
		case FaultStallFirstByte:
			if !x.stall() {
				x.abandon()
			}
		default:
		}
	}
	return s
}

// send sends one event whose JSON is given and tells whether the stream goes
// on. Faults that count frames strike before the frame with their number.
func (s *stream) send(data []byte) bool {
	frame := make([]byte, 0, len(data)+8)
	frame = append(frame, "data: "...)
	frame = append(frame, data...)
	frame = append(frame, "\n\n"...)
	if f := s.x.fault; f != nil && f.After == s.frames {
		var goOn bool
		if frame, goOn = s.strike(f, frame); !goOn {
			return false
		}
	}
	s.frames++
	s.out(frame)
	if s.eager || s.frames == 1 {
		s.x.flush()
	}
	return true
}

// strike carries out a fault at its frame. It returns what to send instead of
// the frame, and false if the answer ends here.
func (s *stream) strike(f *Fault, frame []byte) ([]byte, bool) {
	x := s.x
	switch f.Kind {
	case FaultStallMidStream:
		return frame, x.stall()
	case FaultErrorEvent:
		event := []byte("data: " + x.eventError(f).body + "\n\n")
		x.finish(len(event))
		s.out(event)
		return nil, false
	case FaultComments:
		return frame, s.comment(f)
	case FaultMalformedChunk:
		x.garble()
	case FaultMalformedJSON:
		return []byte("data: {\"choices\":[{\"delta\":]}\n\n"), true
	case FaultMalformedSSE:
		return []byte("\x00" + string(frame[6:len(frame)/2]) + "\n"), true
	case FaultTruncated:
		if f.Length == LengthWrong {
			s.out(frame[:len(frame)/2])
			x.flush()
			x.breakOff()
		}
		x.finish(len(frame) / 2)
		s.out(frame[:len(frame)/2])
		return nil, false
	default:
	}
	return frame, true
}

// comment sends comments and nothing else for the fault's delay, for ever without
// one, and returns false when the client has gone.
func (s *stream) comment(f *Fault) bool {
	until := time.Now().Add(f.Delay)
	for f.Delay == 0 || time.Now().Before(until) {
		s.x.write([]byte(": ping\n\n"))
		s.x.flush()
		if !s.x.wait(f.Interval) {
			return false
		}
	}
	return true
}

// out sends bytes, within what a fault lets through.
func (s *stream) out(b []byte) {
	x := s.x
	if f := x.fault; f != nil {
		switch f.Kind {
		case FaultResetAfterBytes:
			if left := int64(f.Bytes) - x.sent; int64(len(b)) >= left {
				x.write(b[:left])
				x.flush()
				x.reset()
			}
		case FaultSlowDrip:
			x.drip(b)
			return
		default:
		}
	}
	x.write(b)
}

// done sends the end of the stream.
func (s *stream) done() {
	x := s.x
	if x.fault == nil || x.fault.Kind == FaultOddEnd {
		end := []byte(x.fault.ending())
		x.finish(len(end)) // before the last byte, so that who has it finds the record so
		x.write(end)
		x.flush()
		return
	}
	if s.send([]byte("[DONE]")) {
		x.finish(0)
	}
}

// ending is the last event of a stream, as a fault wants it.
func (f *Fault) ending() string {
	const whole = "data: [DONE]\n\n"
	switch {
	case f == nil:
		return whole
	case f.End == EndOneNewline:
		return whole[:len(whole)-1]
	case f.End == EndNoNewline:
		return whole[:len(whole)-2]
	}
	return ""
}

// pace returns the wait before an answer's nth token, from 0 on.
func (x *exchange) pace(l Latency, n int) time.Duration {
	d := l.PerToken
	if n == 0 {
		d = l.FirstToken
	}
	if d == 0 || l.Jitter == 0 {
		return d
	}
	return time.Duration(float64(d) * (1 + l.Jitter*(2*x.inst.sim.random()-1)))
}
