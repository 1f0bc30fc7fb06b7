module github.com/stampgate/stampgate/infra/tools/k8sschema

go 1.26.0
