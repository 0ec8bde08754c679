"""The benchmark of rules, `make bench-rules`: who is compared, on which work, and how long each takes.

- `predicates`: one test at the leaf of a condition, and how CEL, patterns, Python and other engines write it;
- `workloads`: how rules and messages are made from numbers;
- `cases`: a workload at one number of rules, and which rules a message matches by the way it was made;
- `contenders`: turnout and what is written by hand; `peers`: engines from PyPI;
- `answers`: the known answers against the oracle of the tests, and a contender's answers against the known ones;
- `measure`: one case (a workload at one number of rules) in a process of its own;
- `batches`: many messages at once, on one thread and on two;
- `deliveries`: real webhooks and the rules of an example, `github_by_hand`: those rules in Python;
- `table`: what was measured, in Markdown; `goals`: what was to be reached, and whether it was.
"""
