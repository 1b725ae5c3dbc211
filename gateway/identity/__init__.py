"""Who calls: a presented credential becomes a Principal, or nothing.

What is where, all of it pure:

    secrets.py       what a request carries, and how secrets are made and hashed
    authenticate.py  headers + KeyDirectory → Principal | Refusal
    admin.py         admin tokens: headers + tokens → Admin, and what its role may do
    principal.py     the evidence
"""
