"""Loads key sets with Keystone's own code: one JSON line in, one out.

In: an object that maps data keys to base64 values, like the data of a Secret. The
script writes files in the layout of a kubelet's Secret mount, and reads them like
Keystone reads its key repository for each token. Out: the loaded keys, the keys
that validate what Keystone signs, and an error if the keys cannot be used.
"""
import base64
import json
import os
import shutil
import sys
import tempfile

from cryptography import fernet
import keystone.conf
from keystone.common import fernet_utils
from keystone.token import token_formatters

CONF = keystone.conf.CONF
keystone.conf.configure()


def mount(data):
    directory = tempfile.mkdtemp()
    version = os.path.join(directory, "..2026_11_21")
    os.mkdir(version)
    for name, value in data.items():
        with open(os.path.join(version, name), "wb") as f:
            f.write(base64.b64decode(value))
        os.symlink(os.path.join("..data", name), os.path.join(directory, name))
    os.symlink("..2026_11_21", os.path.join(directory, "..data"))
    return directory


def load(directory):
    CONF.set_override("key_repository", directory, group="fernet_tokens")
    tokens = token_formatters.TokenFormatter()
    try:
        keys = fernet_utils.FernetUtils(directory, CONF.fernet_tokens.max_active_keys, "fernet_tokens").load_keys()
        crypto = tokens.crypto  # same as for each token
        signed = crypto.encrypt(b"a payload")
        primary = [k for k in keys if signs(k, signed)]
        for key in keys:  # each must validate its own tokens
            crypto.decrypt(fernet.Fernet(key).encrypt(b"a payload"))
        return {"keys": keys, "primary": primary, "error": ""}
    except Exception as e:
        return {"keys": [], "primary": [], "error": repr(e)}


def signs(key, token):
    try:
        return fernet.Fernet(key).decrypt(token) == b"a payload"
    except fernet.InvalidToken:
        return False


for line in sys.stdin:
    directory = mount(json.loads(line))
    print(json.dumps(load(directory)), flush=True)
    shutil.rmtree(directory)
