"""Evidence about an image: what the log shows of it, and what the model can make of it.

`make` puts a bundle together from a log, its private openings and the model; `verify` believes
nothing of it: it reads the public log, recomputes the root over every entry of the window and comes
to the verdict anew. `docs/ledger.md` says what the verdicts prove and what they cannot.
"""
