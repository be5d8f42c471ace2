"""Answers questions about epsilon with Google's dp_accounting, one JSON a line."""
import json
import sys

import dp_accounting
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant

GRID = 2e-5


def answer(c):
    replace = c["Adjacency"] == "replace"
    if c["Mechanism"] == "laplace":
        step = pld.from_laplace_mechanism(c["Sigma"], value_discretization_interval=GRID)
        event = dp_accounting.LaplaceDpEvent(c["Sigma"])
    else:
        relation = dp_accounting.NeighboringRelation.REPLACE_ONE if replace else dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
        step = pld.from_gaussian_mechanism(
            c["Sigma"], sampling_prob=c["Q"], value_discretization_interval=GRID, neighboring_relation=relation)
        event = dp_accounting.PoissonSampledDpEvent(c["Q"], dp_accounting.GaussianDpEvent(c["Sigma"]))
    rdp = 0
    if not replace:  # its Renyi accountant is unsound there
        accountant = RdpAccountant()
        accountant.compose(event, c["Steps"])
        rdp = accountant.get_epsilon(c["Delta"])
    return {"PLD": step.self_compose(c["Steps"]).get_epsilon_for_delta(c["Delta"]), "RDP": rdp}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
