package azuresim

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// defaultDimensions is the length of a model's vectors.
func defaultDimensions(model string) int {
	if strings.Contains(model, "3-large") {
		return 3072
	}
	return 1536
}

func serveEmbeddings(x *exchange) {
	if x.params.Inputs == nil {
		x.plain(missingParameter("input"))
		return
	}
	if !x.wait(x.pace(x.inst.latencyOf(x.deployment), 0)) {
		return
	}
	dims := cmp.Or(x.params.Dimensions, defaultDimensions(x.deployment.Model))
	total := 0
	b := []byte(`{"object":"list","data":[`)
	for n, text := range x.params.Inputs {
		total += x.params.InputTokens[n]
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, `,"embedding":`...)
		b = appendVector(b, vectorOf(text, dims), x.params.Base64)
		b = append(b, '}')
	}
	b = append(b, `],"model":`...)
	b = append(b, quote(x.servedModel(x.deployment.Model))...)
	used := strconv.Itoa(total)
	b = append(b, `,"usage":{"prompt_tokens":`+used+`,"total_tokens":`+used+`}}`...)
	x.spend(total)
	x.plain(&answer{status: http.StatusOK, body: string(b)})
}

// appendVector writes numbers, or little-endian 32-bit floats in base64.
func appendVector(b []byte, v []float32, encoded bool) []byte {
	if encoded {
		raw := make([]byte, 0, 4*len(v))
		for _, f := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, raw)
		return append(b, '"')
	}
	b = append(b, '[')
	for n, f := range v {
		if n > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(f), 'g', -1, 32)
	}
	return append(b, ']')
}

// scale divides a vector by the root of the sum of its squares.
func scale(v []float32, sum float64) []float32 {
	by := 1 / math.Sqrt(sum)
	for n := range v {
		v[n] = float32(float64(v[n]) * by)
	}
	return v
}
