"""The model server: one ASGI app that speaks KServe's V1 and V2 REST protocol around one model.

`process.run_server` wires it; `app` answers, `follower` takes new versions, `log` and `spool` keep what was answered,
`shipper` (a process of its own) turns that into Parquet in the store.
"""
