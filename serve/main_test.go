package serve

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) {
	// After an error net/http keeps a connection for half a second, so that the
	// client can read the answer; that ends by itself.
	goleak.VerifyTestMain(storetest.M{M: m}, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}
