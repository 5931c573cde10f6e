"""Candor: truthful fine-tuning of one language model for several paying groups.

The exact theory of "Mechanism Design for LLM Fine-tuning with Multiple Reward Models" (Sun, Chen,
Wang, Chen, Deng; arXiv 2405.16276): SW-Max models, affine-maximizer payments, audits, the
laboratory and noise.

    import candor
    game = candor.Game([0.25] * 4, [candor.Report("a", 1, [1, .7, .3, .1]),
                                    candor.Report("b", 1, [.2, .5, 1, .6])])
    candor.solve(game).groups[0].payment
"""
from ._core import *  # noqa: F401,F403
from ._core import __version__  # noqa: F401
