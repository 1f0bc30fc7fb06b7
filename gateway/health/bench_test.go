package health_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
)

// lasting returns a machine whose evaluation does not age during a benchmark.
func lasting() *health.Machine {
	m := health.NewMachine()
	in := well()
	in.Now = time.Now().Add(time.Hour)
	m.Evaluate(in)
	return m
}

// BenchmarkAnswer is the handler alone.
func BenchmarkAnswer(b *testing.B) {
	m := lasting()
	h := health.NewHandler(health.Config{Machine: m})
	w := &discardWriter{http.Header{}}
	for _, path := range paths() {
		b.Run(path, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkServer answers over a kept-alive loopback connection, client and
// server on as many cores as -cpu gives: the client's half is in the figure.
func BenchmarkServer(b *testing.B) {
	m := lasting()
	ts := httptest.NewServer(health.NewHandler(health.Config{Machine: m}))
	defer ts.Close()
	const request = "GET /health/stamp HTTP/1.1\r\nHost: x\r\n\r\n"
	want := len(exchange(b, ts.Listener.Addr().String(), strings.Replace(request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))) - len("Connection: close\r\n")
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", ts.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buf := make([]byte, want)
		for pb.Next() {
			if _, err := io.WriteString(conn, request); err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadFull(conn, buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}

// BenchmarkEvaluate is one look at a policy of 200 routes.
func BenchmarkEvaluate(b *testing.B) {
	in := well()
	in.Routes = nil
	for i := range 200 {
		in.Routes = append(in.Routes, health.Route{Name: fmt.Sprintf("route-%d", i), Required: true, Availability: targets.OwnAvailable})
	}
	m := health.NewMachine()
	b.ReportAllocs()
	for b.Loop() {
		m.Evaluate(in)
	}
}
