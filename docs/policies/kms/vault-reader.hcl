# Restore, verify, find: may unwrap, and nothing else.
path "transit/decrypt/KEY"     { capabilities = ["update"] }
