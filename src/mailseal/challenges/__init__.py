"""How control of identifiers is shown (RFC 8555 section 8): solvers, the look before an order, the choice of a way."""
