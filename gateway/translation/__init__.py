"""One dialect's requests and answers in another's words, over a neutral form: n dialects need 2n files. Sans-io."""
