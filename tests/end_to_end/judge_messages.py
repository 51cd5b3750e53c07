"""Holds JSON files against a JSON Schema: judge_messages.py SCHEMA FILE…, one line a file."""

import json
import sys

import jsonschema

schema = json.load(open(sys.argv[1], encoding="utf-8"))
jsonschema.Draft202012Validator.check_schema(schema)
judge = jsonschema.Draft202012Validator(
    schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
for name in sys.argv[2:]:
    text = open(name, "rb").read()
    faults = [error.message for error in judge.iter_errors(json.loads(text))]
    print("refused" if faults else "taken", name, *faults)
