package plan_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/needs"
	"github.com/stampgate/stampgate/infra/terraform/plan"
)

// root is the repository's, seen from here.
var root = filepath.Join("..", "..", "..")

var (
	work      string // gone when the tests end
	terraform = sync.OnceValues(func() (*plan.Terraform, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		return plan.Prepare(ctx, root, work)
	})
	example = sync.OnceValues(func() (*plan.Example, error) {
		tf, err := terraform()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		return tf.Plan(ctx)
	})
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "plan-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "plan:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	work = dir
	return m.Run()
}

// needTerraform skips the test where there is no terraform, and says so. In CI
// that is an error: a check that never ran must not look like one that passed.
func needTerraform(t *testing.T) *plan.Terraform {
	t.Helper()
	tf, err := terraform()
	missing(t, err)
	return tf
}

// planned is the example boundary.
func planned(t *testing.T) *plan.Example {
	t.Helper()
	e, err := example()
	missing(t, err)
	return e
}

func missing(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, plan.ErrMissing) {
		needs.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
}
