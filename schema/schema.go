// Package schema holds the JSON Schema of pipeline files, for editors.
package schema

import _ "embed"

//go:generate go run ../engine/internal/schemagen -root .. -o pipeline.schema.json
//go:generate go run ../engine/internal/refgen -dir ../docs/reference

// Pipeline is the JSON Schema (draft 2020-12) of a pipeline file.
//
//go:embed pipeline.schema.json
var Pipeline []byte
