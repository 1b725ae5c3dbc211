"""The templates that thresholds and recognizers may be tuned on. Nothing here stands in the test split.

`{slot}` is a labelled value of `values.py`; `{n.slot}` is a hard negative: it looks like personal data and is none.
"""

from __future__ import annotations

from collections.abc import Mapping

# style → templates
TUNING: Mapping[str, tuple[str, ...]] = {
    "chat": (
        "hi, I'm {name}. you can mail me at {email} or call {phone}",
        "my card {card} was charged twice, can you check order {n.order}?",
        "please wire it to {iban}, the account belongs to {name}",
        "I live in {city}, phone {phone}, and my social security number is {ssn}",
        "lol just ping {email} he knows, version {n.version} broke it",
        "the printer is at {ip}, firmware {n.version4}",
        "what is the difference between {n.isbn} and {n.isbn10}? both say 2nd edition",
        "can you explain what {n.decorator} does in python, and why {n.package} needs it?",
        "It was {n.time} on {n.date} when the train left, {n.price} for a seat",
        "write a haiku about rain in {n.range} syllables",
        "Summarise the attached minutes in five bullet points, please.",
    ),
    "email": (
        "From: {name} <{email}>\nTo: support@{n.host}\nSubject: invoice {n.invoice}\n\nHello,\nplease call me back: {phone}.\nRegards, {name}",
        "Dear team,\n\nkindly refund {n.price} to my IBAN {iban}.\n\nBest\n{name}\nTel.: {phone_plus}",
        "On {n.date} {name} wrote:\n> my new address is {email}\n> SSN {ssn}\nThanks!",
        "Hi,\nthe card ending is not enough, so here it is in full: {card}, exp 09/28.\n{name}, {city}",
        "Hello,\n\nyour parcel {n.tracking} will arrive between {n.timerange}.\n\nKind regards",
        "Hi all,\nminutes of {n.date}: budget {n.thousands}, chapter pp. {n.pages}. No action items.\n",
        "Reminder: the meeting moved to room {n.room}. Agenda in {n.invoice}.",
    ),
    "json": (
        '{{"user": {{"name": "{name}", "email": "{email}", "phone": "{phone_plus}"}}, "id": {n.id9}}}',
        '{{"payment": {{"card_number": "{card}", "amount": {n.amount}}}, "ts": {n.epoch}}}',
        '{{"iban": "{iban}", "ref": "{n.uuid}"}}',
        '{{"ssn": "{ssn}", "city": "{city}", "created": "{n.iso}"}}',
        '[{{"client_ip": "{ip}", "agent": "curl/{n.version}"}}, {{"client_ip": "{ip6}"}}]',
        '{{"contact": "{mail_internal}", "order": "{n.order}"}}',
        '{{"id": "{n.uuid}", "sha": "{n.sha}", "t": {n.epoch_ms}, "v": "{n.version}"}}',
        '{{"bbox": [{n.coords}], "size": "{n.size}", "isbn": "{n.isbn}"}}',
        '{{"lines": [{n.ints}], "total": {n.amount}}}',
    ),
    "code": (
        'send_mail(to="{email}", subject="hello")  # {n.decorator}',
        "ADMIN = '{mail_internal}'\nHOST = '{ip}'\nPORT = 8080\n",
        'def test_pay():\n    assert charge("{card}", {n.amount}).ok\n',
        'openai.api_key = "{secret}"\nclient = openai.Client()\n',
        "const dial = (n) => tel(n);\ndial('{phone_plus}'); // {n.epoch_ms}\n",
        "@dataclass(frozen=True)\nclass Row:\n    id: int = {n.id9}\n    at: float = {n.amount}\n    x = self.rows[{n.id9} % 97]\n",
        "template<typename T> void {n.scope}(T a) {{ return {n.scope}(a); }}\n// since {n.version}",
        "git checkout {n.sha} && pip install {n.package} # fixes GH-{n.id9}",
        "for i in range({n.range}): print(user.id, torch.nn.functional.relu(x))  # {n.hexdump}",
    ),
    "logs": (
        "{n.iso} INFO auth login ok user={email} ip={ip} dur={n.amount}ms",
        '{ip} - - [{n.clf}] "GET /reset?email={email}&t={n.epoch} HTTP/1.1" 200 {n.id9}',
        "{n.iso} WARN pay card={card} declined trace={n.uuid}",
        "{n.iso} DEBUG sms queued to={phone_plus} id={n.order}",
        "{n.iso} ERROR smtp {mail_internal}: relay denied from [{ip6}]",
        "{n.iso} INFO worker-3 took {n.amount}s batch={n.id9} mem={n.thousands}",
        "{n.clf} kernel: usb 1-1.2: new device {n.hexdump} rev {n.version}",
        "{n.epoch_ms} cache miss key={n.sha} ttl={n.range}",
    ),
    "csv": (
        "id,name,email,phone\n{n.id9},{name},{email},{phone_plus}\n{n.id9},{name},{email},{phone_plus}\n",
        "name;iban;city\n{name};{iban};{city}\n{name};{iban};{city}\n",
        "card,amount\n{card},{n.amount}\n{card},{n.amount}\n",
        "employee,ssn,start\n{name},{ssn},{n.date}\n{name},{ssn},{n.date}\n",
        "sku,qty,ean\n{n.order},3,{n.isbn}\n{n.order},1,{n.isbn}\n",
        "t,lat,lon\n{n.epoch},{n.coords}\n{n.epoch},{n.coords}\n",
        "day,open,close\n{n.date},{n.amount},{n.amount}\n{n.date},{n.amount},{n.amount}\n",
    ),
    "multiline": (
        "Name: {name}\nCity: {city}\nPhone: {phone}\nE-mail: {email}\nIBAN: {iban}\n",
        "Patient\n  {name}\n  NHS number: {nhs}\n  mobile {phone}\n",
        "Contract no. {n.invoice}\nCard: {card}\nValid until: {n.date}\nSSN: {ssn}\n",
        "Device\n  mac   {mac}\n  ipv4  {ip}\n  ipv6  {ip6}\n  serial {n.serial}\n",
        "1. Introduction ........ {n.range}\n2. Methods ............. {n.range}\n3. Results ............. {n.range}\n",
        "Opening hours\n Mon {n.timerange}\n Tue {n.timerange}\nSince {n.date}\n",
        "Item      Price\nscrew     {n.price}\nnail      {n.price}\nTotal     {n.thousands}\n",
    ),
    "unicode": (
        "Bonjour, je m'appelle {name} — écrivez-moi à {email} ou au {phone}, s'il vous plaît…",
        "Grüße aus {city}! Überweisung bitte auf {iban} – danke schön",
        "お問い合わせは{email_wide}まで。電話:{phone_plus}",
        "Привет, мой телефон {phone_plus}, карта {card} 💳",
        "naïve café № {n.order} — {n.price} · {n.date} · ½ litre",
        "第{n.range}章 {n.date} 版本{n.version} ✅ 完成",
        "El pedido {n.order} llegó el {n.date} a las {n.time} 🎉",
    ),
    "obfuscated": (
        "mail me: {obf.email}",
        "contact {obf.email} asap, thx",
        "card no {obf.card} ok?",
        "call me on {obf.phone}",
        "ssn is {obf.ssn} keep it quiet",
        "account {obf.iban}",
        "his e-mail {obf.email} and cell {obf.phone}",
    ),
    "http": (
        "GET /api/find?email={email}&page=2 HTTP/1.1\nHost: {n.host}\n",
        "POST /signup\n\nname=x&mail={mail_internal}&phone={phone_plus}&ref={n.order}",
        "curl -H 'Authorization: Bearer {secret}' https://{n.host}/v1/items/{n.id9}",
        "https://{n.host}/pay?card={card}&ts={n.epoch}",
        "X-Forwarded-For: {ip}, {ip}\nX-Request-Id: {n.uuid}",
        "GET /static/app.{n.sha}.js?v={n.version} HTTP/2",
        "https://{n.host}/maps/@{n.coords},15z?entry={n.order}",
    ),
    "secrets": (
        "export OPENAI_API_KEY={secret}\nexport REGION=eu-1",
        "the deploy token is {secret}, please rotate it",
        "{secret_pem}\nkeep that file away from git",
        "commit {n.sha} adds sk-learn and gh-pages; see {n.uuid}",
        "checksum sha256:{n.sha}{n.sha} of build {n.version}",
    ),
}
