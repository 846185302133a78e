# SPDX-License-Identifier: BSD-3-Clause
"""Functions of cuDNN's older interface that travel: what their arguments are follows from their
types and names.

A tensor or an activation is a descriptor that lies in the program and travels whole.  An address
after a tensor is of that tensor, up to the next one.  alpha... and beta... are factors, floats or
doubles as the first tensor's type says.  A size behind a workspace is how much of it there is.
The last argument of a question is the size that it answers.
"""
import frontends

CALLS = [  # numbers are on the wire and only ever appended
    (1, "cudnnBatchNormalizationForwardInference"),
    (2, "cudnnBatchNormalizationForwardTrainingEx"),
    (3, "cudnnBatchNormalizationBackwardEx"),
    (4, "cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize"),
    (5, "cudnnGetBatchNormalizationBackwardExWorkspaceSize"),
    (6, "cudnnGetBatchNormalizationTrainingExReserveSpaceSize"),
]
KINDS = {"cudnnTensorDescriptor_t": "tensor", "cudnnActivationDescriptor_t": "activation",
         "double": "real", "size_t": "size"}


def kind_of(kind, name):
    kind = kind.replace("const ", "").strip()
    if kind == "size_t *":
        return "answer"
    if "*" in kind:
        return "factor" if name.startswith(("alpha", "beta")) else "address"
    return KINDS.get(kind, "number")


def functions():
    """(number, name, [(what it is, name)]) without the handle."""
    by_name = {f.name: f for f in frontends.functions("cudnn")}
    return [(number, name, [(kind_of(kind, argument), argument)
                            for kind, argument in by_name[name].arguments[1:]])
            for number, name in CALLS]


def is_question(arguments):
    return arguments[-1][0] == "answer"
