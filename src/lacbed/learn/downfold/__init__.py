"""The pattern of 000 along [001] of a cubic crystal from an effective Hamiltonian of few waves.

The same physics as `lacbed.fast`, pared down to what the learned simulator needs: input are images, everything
that does not depend on the crystal is planned once, the rest is small matrix products, and gradients pass through.
"""
