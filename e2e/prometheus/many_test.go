package prometheus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	many = 1000
	// mostSeries limits the number of series for each remote, not counting
	// fernetcast_requests_total.
	mostSeries = 12
	mostScrape = 100 * time.Millisecond
	// mostWait limits the time of the fastest response on a machine that other programs use, too.
	mostWait = 5 * mostScrape
	// scrapes is the number of scrapes. Only the fastest counts, because the garbage collector and
	// other programs slow down some.
	scrapes = 11
)

// TestThousandRemotes checks that a scrape with 1,000 remotes is fast, and contains few series for
// each.
func TestThousandRemotes(t *testing.T) {
	s := newStage(t)
	var places errgroup.Group
	places.SetLimit(32)
	clusters := []string{mainRegion, elsewhere}
	for i := range many {
		places.Go(func() error {
			c, name := shared.Cluster(clusters[i%len(clusters)]), fmt.Sprintf("r%04d", i)
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.NS + "-" + name}}
			if _, err := c.Client().CoreV1().Namespaces().Create(s.Ctx, namespace, metav1.CreateOptions{}); err != nil {
				return err
			}
			kubeconfig, err := c.AdminKubeconfig(namespace.Name)
			if err != nil {
				return err
			}
			return testenv.WriteFile(s.Clusters, name+".yaml", kubeconfig)
		})
	}
	s.Must(places.Wait())
	process, address := s.StartRun(s)
	s.Until(func(ctx context.Context) error {
		st, err := testenv.Statusz(ctx, address)
		if err != nil {
			return err
		}
		synced := 0
		for _, state := range st.States() {
			if state == "Synced" {
				synced++
			}
		}
		if synced != many {
			err = fmt.Errorf("%d of %d are Synced", synced, many)
		}
		return err
	})

	var took, waited []time.Duration
	text := ""
	for range scrapes {
		// fernetcast caches the page for a second, but each scrape must make it generate a new one.
		time.Sleep(1100 * time.Millisecond)
		before, err := process.CPU()
		s.Must(err)
		began := time.Now()
		page, err := testenv.Get(s.Ctx, "http://"+address+"/metrics")
		s.Must(err)
		passed := time.Since(began)
		after, err := process.CPU()
		s.Must(err)
		// If other programs use the CPUs, the scrape's CPU time is a better measure than its
		// duration.
		took, waited, text = append(took, min(passed, after-before)), append(waited, passed), string(page)
	}
	slices.Sort(took)
	t.Logf("a scrape of %d remotes has %d KiB and took %v; the responses took %v", many, len(text)>>10, took, waited)
	if fastest := slices.Min(waited); fastest > mostWait {
		t.Errorf("the fastest of %d scrapes got a response after %v, want at most %v", len(waited), fastest, mostWait)
	}
	if took[0] > mostScrape {
		t.Errorf("the fastest of %d scrapes took %v, want at most %v", len(took), took[0], mostScrape)
	}
	series := map[string]int{}
	for line := range strings.Lines(text) {
		if _, rest, ok := strings.Cut(line, `remote="`); ok && !strings.HasPrefix(line, "fernetcast_requests_total{") {
			name, _, _ := strings.Cut(rest, `"`)
			series[name]++
		}
	}
	if len(series) != many {
		t.Errorf("%d remotes have series, want %d", len(series), many)
	}
	for name, n := range series {
		if n > mostSeries {
			t.Fatalf("%s has %d series", name, n)
		}
	}
}
