package serve

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }
