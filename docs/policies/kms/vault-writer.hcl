# Backups and archivers: may wrap and sign. KEY is the KEK's name, SIGNER the signer's.
path "transit/encrypt/KEY"     { capabilities = ["update"] }
path "transit/sign/SIGNER"     { capabilities = ["update"] }
path "transit/keys/SIGNER"     { capabilities = ["read"] }
# Not needed; with it a key that is missing, or of the wrong kind, is told apart from one that is denied.
# path "transit/keys/KEY"      { capabilities = ["read"] }
