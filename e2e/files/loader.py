"""Loads a key repository repeatedly with Keystone's own code, and prints a line for each
load: start and end (seconds since 1970), and the keys' fingerprints, or the error's
name. It ends when its stdin does."""
import hashlib
import sys
import threading
import time

import keystone.conf
from keystone.common import fernet_utils

keystone.conf.configure()
keystone.conf.CONF([], project='keystone', default_config_files=[])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
repository = fernet_utils.FernetUtils(sys.argv[1], 4, 'fernet_tokens')
print('ready', flush=True)
while not ended.is_set():
    began = time.time()
    try:
        keys = repository.load_keys()
        outcome = ','.join(hashlib.sha256(key.encode()).hexdigest()[:8] for key in keys)
    except Exception as error:
        outcome = type(error).__name__
    print('%.6f %.6f %s' % (began, time.time(), outcome))
    time.sleep(0.0005)
