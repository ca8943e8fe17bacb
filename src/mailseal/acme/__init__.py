"""The ACME protocol (RFC 8555, 8738, 9773): a library of its own, asked by the acme issuer.

    ports.py       what a caller hands in: HTTP, a clock, a solver of challenges
    client.py      signed requests: nonces, problems, retries, a deadline
    account.py     new, found by key, contact, terms, external binding, key rollover
    orders.py      orders, authorizations, finalize, download
    solving.py     challenges: presented together, answered together, cleaned up
    obtain.py      the whole way from identifiers to a chain, resumable
    trial.py       an order as far as its validation, for a staging server
    limits.py      rate limits: which one, what else it stops, and until when
    ari.py         renewal information (RFC 9773)
    revocation.py  revocation with its reasons

It knows neither files nor services, and nothing of mailseal but its errors,
its nouns and the HTTP port. It keeps no state on disk: whoever calls keeps the
account key, the account's URL and the URL of an order under way. What a server
sends is bounded and checked in messages.py and urls.py before it is used.

Not here: DNS, the web server, key generation, the choice of when to renew.
"""
