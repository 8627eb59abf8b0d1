"""What is true of every input: one module for each reader, with `check(data)` and its seeds.

`tests/test_fuzz.py` asks it of the kept corpus and of a few random inputs; `python -m fuzzing`
(`make fuzz`) of many, led by coverage. A check raises for a bug, and for nothing else.
"""
