"""The LLM gateway, as a map.

An *exchange* is one request of a client and the answer to it. Its *journey* is one function that reads from top
to bottom (`journey.py`); each step returns a value that proves the step was done, and the next step asks for it:

    authenticate → Principal    who calls: a key, its team, its tenant                      identity/
    read         → Ask          what is asked, as far as we must know it; the rest is bytes  reading.py
    decide       → Permit       what the policy set allows of it, and which rule said so    policy/
    plan         → Plan         which provider and model version may answer, in order       routing/
    reserve      → Reservation  the worst case, taken from every limit at once               limits/
    redact       → SafeRequest  the body that may leave, and the way back                    redaction/
    call         → Answer       an answer that has begun, and by whom                        calling.py, providers/
    relay                       the answer goes to the client; the exchange learns its usage stream/
    settle, record              what was not used goes back; one line says what happened     limits/, telemetry/

A *refusal* is a value: the policy said no. A *failure* is an exception: something broke (`errors.py`).
Deciding is pure; doing lives in files named after their technology and is reached through `ports.py`.
Imports point one way: cli → app → server → journey → ports → the pure files. Only `app.py` knows every class.
"""

__version__ = "0.1.0"
