package membership_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

func TestGatewaysOfAStampFindEachOther(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6, 20} {
		synctest.Test(t, func(t *testing.T) {
			net := membertest.NewNetwork(t, 1)
			stamp := membertest.StartStamp(t, net, n, nil)
			took := membertest.Await(t, 20*time.Second, "all see all", func() bool { return membertest.AllSee(stamp) })
			t.Logf("%d gateways see each other after %v", n, took)
		})
	}
}

func TestAVerdictReachesAllPeersWithinASecond(t *testing.T) {
	_ = membership.BreakerOpen
}
