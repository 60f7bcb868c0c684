package prometheus

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	grafanaquery "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statushistory"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// TestDashboardIsOneOfGrafana checks that each field of the dashboard is in Grafana's own schema,
// except folderTitle, which Genestack uses.
func TestDashboardIsOneOfGrafana(t *testing.T) {
	known := cog.NewRuntime()
	known.RegisterPanelcfgVariant(stat.VariantConfig())
	known.RegisterPanelcfgVariant(statushistory.VariantConfig())
	known.RegisterPanelcfgVariant(table.VariantConfig())
	known.RegisterPanelcfgVariant(timeseries.VariantConfig())
	known.RegisterDataqueryVariant(grafanaquery.VariantConfig())
	text, err := os.ReadFile(dashboardFile)
	testenv.Must(t, err)
	fields := map[string]json.RawMessage{}
	testenv.Must(t, json.Unmarshal(text, &fields))
	delete(fields, "folderTitle")
	text, err = json.Marshal(fields)
	testenv.Must(t, err)
	//lint:ignore SA1019 The dashboard uses the classic schema, which every Grafana accepts.
	var d grafana.Dashboard
	// Even on success, UnmarshalJSONStrict returns an error, but one without text.
	if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if err := d.Validate(); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if len(d.Panels) == 0 {
		t.Error("the dashboard has no panels")
	}
}
