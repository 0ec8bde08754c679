"""Selections and leases of pools beside `random.choices` and litellm's Router: `make bench-pools`. Beside pingora and
tower they are compared in Rust, in `peers`: a package of its own, so that nothing else fetches what those bring.

Random answers cannot be equal, so shares are: before a contender is timed, what it chooses must follow the weights.
"""
