"""Judging what endpoints serve. Pure: expectations and answers in, findings out; nothing is asked here.

`expect` says what should hold and makes the questions, `answer` judges one
answer, `verdict` puts the answers of all endpoints together and compares two
looks. `mailseal.prove` asks.
"""
