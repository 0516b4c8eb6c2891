package backend

// The operations of a [Store], as errors, metrics and tests name them, and the opening
// of one.
const (
	OpOpen         = "open"
	OpHead         = "head"
	OpList         = "list"
	OpGet          = "get"
	OpPut          = "put"
	OpCopy         = "copy"
	OpDelete       = "delete"
	OpBeginStage   = "begin_stage"
	OpPutPart      = "put_part"
	OpStagedParts  = "staged_parts"
	OpPublishStage = "publish_stage"
	OpAbortStage   = "abort_stage"
	OpListStages   = "list_stages"
)

// Ops lists the methods among them.
func Ops() []string {
	return []string{
		OpHead, OpList, OpGet, OpPut, OpCopy, OpDelete,
		OpBeginStage, OpPutPart, OpStagedParts, OpPublishStage, OpAbortStage, OpListStages,
	}
}
