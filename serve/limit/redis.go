package limit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisConfig is how nodes count together.
type RedisConfig struct {
	// URL is required: "redis://USER:PASSWORD@HOST:PORT/DATABASE", "rediss://..."
	// over TLS, or "unix:///PATH".
	URL string
	// Prefix of the keys; "redoubt" if empty.
	Prefix string
	// Nodes is how many share the limits: while Redis is lost, each counts for
	// itself and allows its share of each limit, but one call at least. 1 if zero.
	Nodes int
	// Timeout bounds what a call waits for Redis; 50 ms if zero.
	Timeout time.Duration
	// Keys bounds what is counted here while Redis is lost: see [MemoryConfig].
	Keys int
	// Logger is told when Redis is lost and when it is back, once each; nil for
	// nobody.
	Logger *slog.Logger
}

const (
	defaultTimeout = 50 * time.Millisecond
	// again is how long a lost Redis is left alone before one call tries it.
	again = time.Second
)

// Redis counts in a Redis server that several nodes share, exactly and by the
// server's clock. While the server is lost it counts in this process; a server
// that comes back empty begins anew. It is safe for concurrent use and starts no
// goroutine.
type Redis struct {
	cfg    RedisConfig
	client *redis.Client
	script *redis.Script
	own    *Memory
	began  time.Time
	// lost is when to try the server again, in nanoseconds since began; 0 while
	// it answers.
	lost atomic.Int64
}

//go:embed take.lua
var takeScript string

// NewRedis returns a limiter that counts in Redis. It does not connect before
// the first take.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	options, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, errors.New(`count in Redis: the address is no URL such as "redis://HOST:6379/0", "rediss://HOST" or "unix:///PATH"`) // its own error may hold the password
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "redoubt"
	}
	if cfg.Nodes <= 0 {
		cfg.Nodes = 1
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// What goes wrong is decided here, once and at once: the client neither tries
	// again nor waits longer than it is told to.
	options.MaxRetries, options.DialerRetries = -1, 1
	options.DialTimeout, options.ContextTimeoutEnabled = cfg.Timeout, true
	return &Redis{
		cfg: cfg, client: redis.NewClient(options), script: redis.NewScript(takeScript),
		own: NewMemory(MemoryConfig{Keys: cfg.Keys}), began: time.Now(),
	}, nil
}

// Close closes the connections to the server.
func (r *Redis) Close() error { return r.client.Close() }

// Lost reports whether the server did not answer when it was asked last, and the
// counts are this process's own.
func (r *Redis) Lost() bool { return r.lost.Load() > 0 }

// Take implements [Taker].
func (r *Redis) Take(ctx context.Context, buckets []Bucket) Answer {
	if lost := r.lost.Load(); lost > 0 {
		now := int64(time.Since(r.began))
		// One of the calls tries; the others go on meanwhile.
		if now < lost || !r.lost.CompareAndSwap(lost, now+int64(again)) {
			return r.own.Take(ctx, r.shares(buckets))
		}
	}
	a, err := r.ask(ctx, buckets)
	if err != nil {
		if r.lost.Swap(int64(time.Since(r.began)+again)) == 0 {
			r.cfg.Logger.Warn("Redis is lost: limits are counted on each node, which allows its share", "nodes", r.cfg.Nodes, "error", err)
		}
		return r.own.Take(ctx, r.shares(buckets))
	}
	if r.lost.Load() > 0 && r.lost.Swap(0) > 0 {
		r.cfg.Logger.Info("Redis is back: limits are counted together again")
	}
	return a
}

// ask has the server take. A caller that goes away does not pass for a server
// that does not answer.
func (r *Redis) ask(ctx context.Context, buckets []Bucket) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
	defer cancel()
	var keys []string
	var args []any
	for i := range buckets {
		for _, l := range buckets[i].Limits {
			keys = append(keys, r.key(&buckets[i], l))
			args = append(args, l.Count, l.Window.Microseconds())
		}
	}
	reply, err := r.script.Run(ctx, r.client, keys, args...).StringSlice()
	if err != nil {
		return Answer{}, err
	}
	if len(reply) != len(keys)+1 {
		return Answer{}, fmt.Errorf("take in Redis: %d values come back, want %d", len(reply), len(keys)+1)
	}
	levels := make([]int64, len(keys))
	for i := range levels {
		if levels[i], err = strconv.ParseInt(reply[i+1], 10, 64); err != nil {
			return Answer{}, fmt.Errorf("take in Redis: %w", err)
		}
	}
	return answer(buckets, levels, reply[0] == "1"), nil
}

// key names a window. The length of the bucket's name keeps its keys from passing
// for another's.
func (r *Redis) key(b *Bucket, l Limit) string {
	return fmt.Sprintf("%s:limit:%d:%s:%s:%d/%d", r.cfg.Prefix, len(b.Name), b.Name, b.Key, l.Count, l.Window.Microseconds())
}

// shares are the buckets with this node's share of their limits.
func (r *Redis) shares(buckets []Bucket) []Bucket {
	if r.cfg.Nodes == 1 {
		return buckets
	}
	out := make([]Bucket, len(buckets))
	for i, b := range buckets {
		out[i] = b
		out[i].Limits = make([]Limit, len(b.Limits))
		for j, l := range b.Limits {
			out[i].Limits[j] = Limit{max(l.Count/r.cfg.Nodes, min(l.Count, 1)), l.Window}
		}
	}
	return out
}
