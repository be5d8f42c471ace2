package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// Metrics count what a gateway does, for Prometheus. No label holds a
// principal, an address or anything else that a client chose.
type Metrics struct {
	seconds    *prometheus.HistogramVec // by model, path and code
	errors     *prometheus.CounterVec   // by model, guard and code
	underWay   prometheus.Gauge
	suspected  *prometheus.CounterVec // by model and detector
	unrecorded prometheus.Counter
	shadows    *prometheus.CounterVec // by model and outcome
}

// NewMetrics makes the metrics and registers them, if there is a registry:
//
//	redoubt_gateway_request_seconds{model,path,code}
//	redoubt_gateway_errors_total{model,guard,code}
//	redoubt_gateway_requests_under_way
//	redoubt_gateway_suspected_total{model,detector}
//	redoubt_gateway_unrecorded_total
//	redoubt_gateway_shadow_total{model,outcome}
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "redoubt_gateway_request_seconds", Help: "Time that calls took, by what became of them.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"model", "path", "code"}),
		errors:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "redoubt_gateway_errors_total", Help: "Calls that ended with an error, by the guard that ended them; model where they had passed all."}, []string{"model", "guard", "code"}),
		underWay:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "redoubt_gateway_requests_under_way", Help: "Calls that are being answered."}),
		suspected:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "redoubt_gateway_suspected_total", Help: "Requests that a detector suspected, or failed on."}, []string{"model", "detector"}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{Name: "redoubt_gateway_unrecorded_total", Help: "Calls refused because the log could not be written."}),
		shadows:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "redoubt_gateway_shadow_total", Help: "Answers of shadows, by how they compare: agreed, differed, failed, skipped."}, []string{"model", "outcome"}),
	}
	if r != nil {
		r.MustRegister(m.seconds, m.errors, m.underWay, m.suspected, m.unrecorded, m.shadows)
	}
	return m
}

func (m *Metrics) begin() { m.underWay.Inc() }
func (m *Metrics) end()   { m.underWay.Dec() }

func (m *Metrics) observe(c *Call, err error, took time.Duration) {
	model, code := "", "ok"
	if c.Served != nil {
		model = c.Served.Model.Name
	}
	if err != nil {
		code = oip.Classify(err).Code.String()
	}
	m.seconds.WithLabelValues(model, string(c.Path), code).Observe(took.Seconds())
	if err != nil {
		m.errors.WithLabelValues(model, c.at, code).Inc()
	}
}
