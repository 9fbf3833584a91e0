"""A model as a folder that anybody can read: see `docs/folder.md`."""
