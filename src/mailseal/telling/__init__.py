"""Those who tell of a run when it has ended: one module each, imported on use (`mailseal.runs.TELLERS`)."""
