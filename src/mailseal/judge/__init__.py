"""Judging what endpoints serve. Pure: expectations and answers in, findings out; nothing is asked here.

`expect` says what should hold and makes the questions, `answer` judges one
answer (by `reached`, `served` and `web`), `verdict` puts the answers of all
endpoints together and compares two looks. `files` and `infer` serve a machine
that nobody described. `mailseal.prove` and `mailseal.check` ask.
"""
