# Everything here sets itself up: Go, a C compiler and npm are all it needs.
REDOUBT = bin/redoubt

.PHONY: build demo test lint race bench falsify certify peers load proxy soak clients dex e2e fuzz proto golden clean

build: ## the binary, in bin/
	go build -trimpath -o $(REDOUBT) ./cmd/redoubt
runtime: build ## ONNX Runtime, fetched into the user's cache where none is found
	$(REDOUBT) runtime info >/dev/null 2>&1 || $(REDOUBT) runtime fetch
demo: runtime ## the main job on data inside the binary
	$(REDOUBT) demo
test: runtime ## all tests
	go test -timeout 30m -shuffle=on ./...
	cd privacy/dp/beam && go test ./...
lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./... && go tool staticcheck ./...
race: runtime ## the concurrent packages under the race detector
	go test -race -short ./ml/ort ./ml/model ./attack/... ./assess ./store/... ./watch/... ./serve/... ./supply/... ./privacy/fpe ./privacy/mask ./privacy/vault ./privacy/pii/... ./privacy/anon/...
bench: runtime ## speed, in benchstat's format
	go test -run '^$$' -bench . -count 6 ./ml/ort ./ml/grad ./ml/model ./attack/evasion ./cmd/redoubt ./serve/... ./privacy/...
falsify: runtime ## every VNN-COMP instance for 20 s (2 s where no violation is known)
	go test ./assess/falsify -run VNNCOMP -v -seconds 20 -timeout 2h
certify: ## every VNN-COMP instance that is safe: proved within 60 s?
	go test ./defend/certify -run VNNCOMP -v -seconds 60 -timeout 4h
peers: build ## the Python libraries for attacks and for differential privacy on the same jobs
	bench/peers/run.sh
	bench/peers/dp.sh $(REDOUBT)
clients: runtime ## the Python clients of Triton and KServe against the gateway
	go run ./bench/clients -redoubt $(REDOUBT)
dex: runtime ## people sign in through a real Dex: make dex DEX=/path/to/dex
	python3 bench/identity/dex.py --dex $(DEX) --redoubt $(REDOUBT)
load: runtime ## the gateway against a bare handler: throughput, and latency at half load
	bench/load/run.sh
proxy: runtime ## the gateway in front of another server: what it adds to it
	bench/load/run.sh proxy
soak: runtime ## the gateway under load for half an hour, with its memory every minute
	bench/load/run.sh soak
e2e: ## the pages in a real Chromium, with its virtual authenticator
	go test -count=1 ./serve/identity/web -run TestBrowser -e2e
fuzz: ## each decoder for 20 s
	for p in ml/onnx ml/data ml/remote ml/vnnlib serve/oip serve/identity serve/gateway serve/control serve/seal supply/scan supply/sign supply/bom watch/audit privacy/dp privacy/dp/release privacy/pii privacy/pii/document privacy/pii/names privacy/pii/names/internal/subword; do for f in $$(go test -list ^Fuzz ./$$p | grep ^Fuzz); do \
	go test -run '^$$' -fuzz "^$$f\$$" -fuzztime 20s -fuzzminimizetime 10x ./$$p || exit 1; done; done
proto: ## what is generated from the gRPC protocol (protoc from PATH)
	d=$$(mktemp -d) && GOBIN=$$d go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12 && \
	GOBIN=$$d go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2 && PATH=$$d:$$PATH protoc -I serve/oip/oippb \
	--go_out=serve/oip/oippb --go_opt=paths=source_relative --go-grpc_out=serve/oip/oippb --go-grpc_opt=paths=source_relative inference.proto
golden: ## rewrite golden files
	go test . ./report -update
	go test ./serve -run TestSchema -update
	go test ./assess -run Probes -update
	go test ./attack/evasion -run TestPage -update
	go test ./supply/scan -run Scorecard -update
	go test ./privacy/pii ./privacy/pii/names -run Scorecard -update
