module audioprothese.platform/lab/pause

go 1.27.3
