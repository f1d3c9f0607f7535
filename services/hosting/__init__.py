"""Documents that a provider holds for us, so that it can search in them itself; docs/hosting.md tells the whole.

`library` is what answers use; `documents` is what indexing does; `sync` is the job that mends what differs.
"""
