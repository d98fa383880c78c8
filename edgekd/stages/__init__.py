"""The stages of a build, in the order in which the data passes them.

data, teacher, teacher_logits, distill, prune, quantize, verify, benchmark, report, bundle: each reads the artifacts of
those before it and writes its own. They do not know each other; :mod:`edgekd.pipeline` composes them.
"""
