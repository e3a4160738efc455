"""byreport decides drug claim lines billed under not-otherwise-classified HCPCS codes.

A decision reports published policy with its sources. It is no promise of payment.
"""

__version__ = "0.1.0"
