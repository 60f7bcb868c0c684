"""Rotates the keys in the Secret as openstack-helm's job does: it reads the Secret,
writes the files, has keystone-manage rotate them, and puts the whole Secret back with the
resourceVersion that it has read."""
import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.request

REPOSITORY = '/etc/keystone/fernet-keys'
ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/'
URL = 'https://%s:%s/api/v1/namespaces/%s/secrets/keystone-fernet-keys' % (
    os.environ['KUBERNETES_SERVICE_HOST'], os.environ['KUBERNETES_SERVICE_PORT'], open(ACCOUNT + 'namespace').read())


def ask(method, body=None):
    request = urllib.request.Request(URL, method=method, data=json.dumps(body).encode() if body else None, headers={
        'Authorization': 'Bearer ' + open(ACCOUNT + 'token').read(), 'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ACCOUNT + 'ca.crt')) as answer:
        return json.load(answer)


secret = ask('GET')
os.makedirs(REPOSITORY, mode=0o700, exist_ok=True)
for name, key in secret['data'].items():
    with open(os.path.join(REPOSITORY, name), 'wb') as f:
        f.write(base64.b64decode(key))
subprocess.call(['keystone-manage', '--config-file', '/etc/ks/keystone.conf', sys.argv[1]])
secret['data'] = {name: base64.b64encode(open(os.path.join(REPOSITORY, name), 'rb').read()).decode() for name in os.listdir(REPOSITORY)}
ask('PUT', secret)
