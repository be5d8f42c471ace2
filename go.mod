module github.com/redoubt-ml/redoubt

go 1.26.0

// The wire primitives (varints, tags) that ml/onnx decodes models with.
require google.golang.org/protobuf v1.36.12

// Configuration, feature schemas (ml/data, cmd/redoubt), queries
// (privacy/dp/release) and policies (privacy/anon): strict YAML whose errors name line and column.
require github.com/goccy/go-yaml v1.19.2

// Parquet tables (ml/data, privacy/dp/release, privacy/anon).
require github.com/parquet-go/parquet-go v0.32.0

// The language of policies and its evaluation (serve/policy).
require github.com/cedar-policy/cedar-go v1.9.0

// Tests only: random cases that shrink (serve/policy, serve/limit, privacy/anon).
require pgregory.net/rapid v1.3.0

// Limits that several nodes share (serve/limit, cmd/redoubt).
require github.com/redis/go-redis/v9 v9.23.0

// Tests only (report, supply): SARIF, CycloneDX and bundles are held against the
// official schemas.
require github.com/santhosh-tekuri/jsonschema/v6 v6.0.3

// Service managers are told when the server is ready (cmd/redoubt).
require github.com/coreos/go-systemd/v22 v22.7.0

// A share of the memory for each large body (serve/gateway).
require golang.org/x/sync v0.24.0

// xz and LZMA (supply/scan): what joblib and 7z compress with.
require github.com/ulikunitz/xz v0.5.17

// Zstandard (internal/parquetcheck, supply/scan): Parquet pages are measured before they are believed.
require github.com/klauspost/compress v1.20.1

// Brotli, likewise (internal/parquetcheck).
require github.com/andybalholm/brotli v1.2.0

// Tests only (cmd/redoubt): scripts that run the real binary.
require github.com/rogpeppe/go-internal v1.16.0

// Verbs, flags, help and shell completion (cmd/redoubt).
require github.com/spf13/cobra v1.10.2

// The flags of cobra, walked for the configuration file (cmd/redoubt).
require github.com/spf13/pflag v1.0.10

// Whether stderr is a terminal, for the progress bar (cmd/redoubt).
require golang.org/x/term v0.47.0

// PostgreSQL, where several nodes share their state (store), and whose tables are
// released (privacy/dp/release).
require github.com/jackc/pgx/v5 v5.12.0

// SQLite without C, for one machine (store).
require modernc.org/sqlite v1.61.1

// Waiting for many connections and a moment at once (bench/load).
require golang.org/x/sys v0.49.0

// HTML in tokens (privacy/pii/document). Tests (serve): frames of HTTP/2 that no
// client would send.
require golang.org/x/net v0.61.0

// Tests only: nothing that was started goes on running.
require go.uber.org/goleak v1.3.0

// gRPC, the second transport of the Open Inference Protocol (serve/oip).
require google.golang.org/grpc v1.85.0

// QR codes of one-time codes (serve/identity/web).
require rsc.io/qr v0.2.0

// Tests only (serve/identity/web): one-time codes as somebody else makes them.
require github.com/pquerna/otp v1.5.0

// Tests only (serve/identity/web): a real browser.
require github.com/chromedp/chromedp v0.23.0

// Tests only (serve/identity): an authenticator for passkeys.
require github.com/descope/virtualwebauthn v1.0.3

// Passkeys: the ceremonies of WebAuthn (serve/identity).
require github.com/go-webauthn/webauthn v0.18.2

// Signatures of JSON Web Tokens (serve/identity), beneath checks of our own.
require github.com/golang-jwt/jwt/v5 v5.3.1

// Discovery of OpenID Connect issuers, and their code flow (serve/identity).
require github.com/coreos/go-oidc/v3 v3.21.0

// Passwords: argon2id (serve/identity). Certificates by ACME (serve). BLAKE2b, and
// ASN.1 that is written again byte by byte (supply/sign). Keccak (privacy/pii).
require golang.org/x/crypto v0.58.0

// Passwords and names are compared in one normal form (serve/identity). Character sets
// of mail and PDF (privacy/pii/document).
require golang.org/x/text v0.43.0

// Tests only (serve/identity/web): what Chromium's debugging protocol calls things.
require github.com/chromedp/cdproto v0.159.0

// The control API with its description as OpenAPI 3.1 (serve/control).
require github.com/danielgtaylor/huma/v2 v2.37.2

// Metrics in the form that Prometheus reads (serve, serve/gateway).
require github.com/prometheus/client_golang v1.25.0

// The code flow of single sign-on (serve/identity).
require golang.org/x/oauth2 v0.37.0

// Traces of calls (serve, serve/gateway, serve/engine): W3C trace context and the
// attributes of spans.
require go.opentelemetry.io/otel v1.47.0

// Traces: what gateway and engine know of them.
require go.opentelemetry.io/otel/trace v1.47.0

// Traces: sampling and batches (serve).
require go.opentelemetry.io/otel/sdk v1.47.0

// Traces: how collectors take them, OTLP over HTTP (serve).
require go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.47.0

// Storage that speaks S3 (watch/export).
require github.com/minio/minio-go/v7 v7.4.1

// Merkle trees and signed notes of transparency logs (watch/audit, supply/sign).
require golang.org/x/mod v0.42.0

// Tests only (serve): a collector reads what is sent.
require go.opentelemetry.io/proto/otlp v1.11.0

// Encryption at rest (serve/seal): authenticated encryption, in streams too, and
// sets of keys.
require github.com/tink-crypto/tink-go/v2 v2.9.0

// Keys in the keyring of the user's system (serve/seal).
require github.com/zalando/go-keyring v0.2.8

// Keys in hardware security modules (serve/seal).
require github.com/miekg/pkcs11 v1.1.2

// Tests only (watch/witness): cosignatures as somebody else reads them.
require github.com/transparency-dev/formats v0.1.1

// Tests only (watch/audit): Merkle trees as somebody else computes them.
require github.com/transparency-dev/merkle v0.0.2

// Bills of materials in CycloneDX 1.6 and 1.7, model cards included (supply/bom).
require github.com/CycloneDX/cyclonedx-go v0.12.0

// BLAKE3, one of the hashes of OpenSSF Model Signing (supply/sign).
require github.com/zeebo/blake3 v0.2.4

// ML-DSA, signatures that hold against quantum computers (supply/sign): the
// standard library of Go 1.26 has none.
require github.com/cloudflare/circl v1.6.5

// JSON read strictly (supply/sign): names spelt exactly and once, which
// encoding/json does not ask.
require github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3

// Which telephone numbers exist (privacy/pii): Google's metadata of all countries.
require github.com/nyaruka/phonenumbers v1.8.1

require (
	filippo.io/mldsa v0.0.0-20260215214346-43d0283efc3e // indirect
	github.com/BurntSushi/toml v1.6.0 // indirect
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/boombuler/barcode v1.0.1-0.20190219062509-6c824513bacc // indirect
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/danieljoos/wincred v1.2.3 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/fxamacker/cbor/v2 v2.9.4 // indirect
	github.com/go-jose/go-jose/v4 v4.1.4 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/go-viper/mapstructure/v2 v2.5.0 // indirect
	github.com/go-webauthn/x v0.3.1 // indirect
	github.com/godbus/dbus/v5 v5.2.2 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.30.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	github.com/klauspost/crc32 v1.3.0 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/minio/crc64nvme v1.1.1 // indirect
	github.com/minio/md5-simd v1.1.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/parquet-go/bitpack v1.0.0 // indirect
	github.com/parquet-go/jsonlite v1.0.0 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/pierrec/lz4/v4 v4.1.21 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/rs/xid v1.6.0 // indirect
	github.com/tinylib/msgp v1.6.4 // indirect
	github.com/twpayne/go-geom v1.6.1 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	github.com/zeebo/xxh3 v1.1.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel/exporters/otlp/otlptrace v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/exp v0.0.0-20260824195058-e88cd73687aa // indirect
	golang.org/x/exp/typeparams v0.0.0-20260811152304-ee035b5b010f // indirect
	golang.org/x/perf v0.0.0-20260908200009-22c9c6c9d4da // indirect
	golang.org/x/tools v0.52.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	gopkg.in/ini.v1 v1.67.3 // indirect
	honnef.co/go/tools v0.8.2 // indirect
	modernc.org/libc v1.79.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)

tool (
	golang.org/x/perf/cmd/benchstat
	honnef.co/go/tools/cmd/staticcheck
)
