package serve

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// meter tells Prometheus, when it asks, what the parts of a server know of themselves.
// What calls do is counted by [gateway.Metrics]. As there, no label holds what a client
// chose.
type meter struct{ *Server }

// reloading is how the configuration was read last, and when it last held.
type reloading struct {
	ok   bool
	held time.Time
}

// What is told. docs/serving.md explains each.
var (
	buildInfo     = gauge("redoubt_build_info", "The program that runs: 1.", "version", "go")
	ready         = gauge("redoubt_ready", "1 where the server answers calls, 0 where /readyz says why not.")
	storeAnswers  = gauge("redoubt_store_answers", "1 where the database answers; 0 where it is lost, and what is known in memory goes on.")
	redisAnswers  = gauge("redoubt_redis_answers", "1 where Redis answers; 0 where it is lost, and each node counts for itself.")
	auditWritable = gauge("redoubt_audit_writable", "1 where the log takes entries; 0 where it cannot, and calls are refused.")
	auditSigned   = gauge("redoubt_audit_signed_entries", "Entries that the newest signed checkpoint of the log covers.")
	reloadOK      = gauge("redoubt_config_last_reload_successful", "1 where the configuration that was read last holds, 0 where it was refused.")
	reloadTime    = gauge("redoubt_config_last_reload_success_timestamp_seconds", "When the configuration that holds was read.")
	certExpires   = gauge("redoubt_certificate_expiry_timestamp_seconds", "Until when the certificate of the listeners is valid; absent with ACME, which renews it.")

	modelRequests = count("redoubt_model_requests_total", "Requests that a version was asked, by what became of them.", "model", "version", "outcome")
	modelRows     = count("redoubt_model_rows_total", "Samples that were answered.", "model", "version")
	modelRuns     = count("redoubt_model_runs_total", "Runs of a version; rows divided by runs is the mean batch.", "model", "version")
	modelWaited   = count("redoubt_model_queue_seconds_total", "Time that requests waited for a run.", "model", "version")
	modelRan      = count("redoubt_model_run_seconds_total", "Time that runs took, joining and parting of batches included; upstream, the time until the answer.", "model", "version")
	modelWaiting  = gauge("redoubt_model_queue_requests", "Requests that wait for a run.", "model", "version")
	modelAdmitted = gauge("redoubt_model_admitted", "1 where a version may be routed to, 0 where it may not.", "model", "version")
	modelUntil    = gauge("redoubt_model_admitted_until_timestamp_seconds", "When a version may not be routed to any more, because a claim about it expires.", "model", "version")
)

// instrument is a metric that is read when it is asked for.
type instrument struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) instrument {
	return instrument{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func count(name, help string, labels ...string) instrument {
	return instrument{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

// Describe says nothing: versions come and go.
func (m meter) Describe(chan<- *prometheus.Desc) {}

// askTime bounds how long a database or an upstream server may take to answer, so that
// a scrape gets what else there is.
const askTime = 2 * time.Second

// Collect implements [prometheus.Collector].
func (m meter) Collect(to chan<- prometheus.Metric) {
	tell := func(i instrument, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(i.desc, i.kind, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	tell(buildInfo, 1, m.opt.Version, runtime.Version())
	tell(ready, truth(len(m.unready(ctx)) == 0))
	tell(storeAnswers, truth(m.db.Ping(ctx) == nil))
	if r, ok := m.limits.(*limit.Redis); ok {
		tell(redisAnswers, truth(!r.Lost()))
	}
	tell(auditWritable, truth(m.log.Err() == nil))
	tell(auditSigned, float64(m.log.Checkpoint().Size))
	last := m.reloaded.Load()
	tell(reloadOK, truth(last.ok))
	tell(reloadTime, seconds(last.held))
	if c := m.Certificate(); c != nil {
		tell(certExpires, seconds(c.Expires()))
	}
	m.gateway.Use(func(models []*gateway.Model) {
		for _, model := range models {
			for _, v := range model.Versions {
				tellVersion(tell, model.Name, v)
			}
		}
	})
}

func tellVersion(tell func(instrument, float64, ...string), model string, v gateway.Version) {
	tell(modelAdmitted, truth(v.Refused == ""), model, v.Name)
	if !v.Until.IsZero() {
		tell(modelUntil, seconds(v.Until), model, v.Name)
	}
	if e, ok := v.Engine.(interface{ Waiting() int }); ok {
		tell(modelWaiting, float64(e.Waiting()), model, v.Name)
	}
	e, ok := v.Engine.(interface{ Statistics() *oip.Statistics })
	if !ok {
		return
	}
	s := e.Statistics()
	tell(modelRequests, float64(s.Inference.Success.Count), model, v.Name, "success")
	tell(modelRequests, float64(s.Inference.Fail.Count), model, v.Name, "failure")
	tell(modelRows, float64(s.InferenceCount), model, v.Name)
	tell(modelRuns, float64(s.ExecutionCount), model, v.Name)
	tell(modelWaited, float64(s.Inference.Queue.NS)/1e9, model, v.Name)
	tell(modelRan, float64(s.Inference.ComputeInput.NS+s.Inference.ComputeInfer.NS+s.Inference.ComputeOutput.NS)/1e9, model, v.Name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

// counted is a recorder that counts what is entered: logins and their failures,
// and what administrators change.
type counted struct {
	identity.Recorder
	events *prometheus.CounterVec
}

func newCounted(r identity.Recorder, registry prometheus.Registerer) *counted {
	c := &counted{r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "redoubt_identity_events_total", Help: "Logins, failures, and changes to accounts, factors and tokens, by the log's name for them.",
	}, []string{"action", "outcome"})}
	registry.MustRegister(c.events)
	return c
}

func (c *counted) Record(ctx context.Context, e redoubt.Event) error {
	c.events.WithLabelValues(e.Action, string(e.Outcome)).Inc()
	return c.Recorder.Record(ctx, e)
}
