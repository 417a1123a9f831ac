"""Tests of config/security and of code that could execute the data it reads.

The access policy must allow exactly the topics and services that the node uses.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from siamffn.srv import InitTarget, ListTargets

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.tracking import State

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

ROOT = Path(__file__).parents[3]
POLICY = ROOT / 'config' / 'security' / 'tracker.policy.xml'
GUIDE = ROOT / 'docs' / 'security.md'
SECOND = 10**9
Names = dict[str, set[str]]  # names of topics and services by verb, a key of VERBS

# The permissions of a policy: the kind of names, and the role in rclpy's functions
# get_ROLE_names_and_types_by_node.
VERBS = {
    'publish': ('topics', 'publisher'),
    'subscribe': ('topics', 'subscriber'),
    'reply': ('services', 'service'),
    'request': ('services', 'client'),
}
# The DDS topics that a node with this permission writes and reads.
DDS_TOPICS = {
    'publish': ('rt{}', ''),
    'subscribe': ('', 'rt{}'),
    'reply': ('rr{}Reply', 'rq{}Request'),
    'request': ('rq{}Request', 'rr{}Reply'),
}
DISCOVERY_TOPIC = 'ros_discovery_info'  # the DDS topic on which nodes announce themselves

# As written by `ros2 security create_keystore`: authentication and encryption are mandatory.
GOVERNANCE = """\
<dds><domain_access_rules><domain_rule>
  <domains><id>{domain}</id></domains>
  <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
  <enable_join_access_control>true</enable_join_access_control>
  <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
  <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
  <rtps_protection_kind>SIGN</rtps_protection_kind>
  <topic_access_rules><topic_rule>
    <topic_expression>*</topic_expression>
    <enable_discovery_protection>true</enable_discovery_protection>
    <enable_liveliness_protection>true</enable_liveliness_protection>
    <enable_read_access_control>true</enable_read_access_control>
    <enable_write_access_control>true</enable_write_access_control>
    <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
    <data_protection_kind>ENCRYPT</data_protection_kind>
  </topic_rule></topic_access_rules>
</domain_rule></domain_access_rules></dds>
"""
PERMISSIONS = """\
<dds><permissions><grant name="{enclave}">
  <subject_name>CN={enclave}</subject_name>
  <validity><not_before>{begin}</not_before><not_after>{end}</not_after></validity>
  <allow_rule>
    <domains><id>{domain}</id></domains>
    <publish><topics>{writes}</topics></publish>
    <subscribe><topics>{reads}</topics></subscribe>
  </allow_rule>
  <default>DENY</default>
</grant></permissions></dds>
"""


# The policy allows exactly the names that the node uses


def allowed_names(policy: Path) -> dict[str, Names]:
    """Return the names that a policy allows, by the full name of each node."""
    allowed = {}
    for profile in ET.parse(policy).iter('profile'):
        namespace = profile.attrib['ns'].rstrip('/')
        node = f'{namespace}/{profile.attrib["node"]}'
        allowed[node] = {
            verb: {
                resolve_name(str(expression.text), namespace, node)
                for group in profile.findall(kind)
                if group.get(verb) == 'ALLOW'
                for expression in group
            }
            for verb, (kind, _) in VERBS.items()
        }
    return allowed


def resolve_name(name: str, namespace: str, node: str) -> str:
    """Return the full name of a topic or service in a policy, as SROS2 does."""
    if name.startswith('~/'):
        return node + name[1:]
    return name if name.startswith('/') else f'{namespace}/{name}'


def used_names(observer: Node, node: str) -> Names:
    """Return the names that a node uses at this moment; nothing if it is not discovered."""
    namespace, _, name = node.rpartition('/')
    namespace = namespace or '/'
    if (name, namespace) not in observer.get_node_names_and_namespaces():
        return {}
    names = {}
    for verb, (_, role) in VERBS.items():
        names_and_types = getattr(observer, f'get_{role}_names_and_types_by_node')
        names[verb] = {used for used, _ in names_and_types(name, namespace)}
    return names


def assert_uses(peer: Peer, node: str, expected: Names) -> None:
    """Fail unless an active node uses exactly these names, also one second later.

    Discovery has no end that could be waited for, and a name
    that the policy lacks may be discovered after all expected ones.
    """
    if not find_spec('rclpy.type_description_service'):  # Humble
        expected['reply'].discard(f'{node}/get_type_description')
    with suppress(AssertionError):
        peer.until(lambda: used_names(peer.node, node) == expected, f'names of {node}')
    time.sleep(1)
    assert used_names(peer.node, node) == expected


def test_the_policy_has_the_format_of_sros2() -> None:
    root = ET.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ('policy', {'version': '0.2.0'})
    for parent, child in (('.', 'enclaves'), ('enclaves', 'enclave'), ('.//enclave', 'profiles')):
        assert [element.tag for element in root.findall(f'{parent}/*')] == [child]
    for group in root.findall('.//profile/*'):
        (verb, rule), kind = *group.attrib.items(), group.tag
        assert rule == 'ALLOW' and VERBS[verb][0] == kind
        for expression in group:
            assert expression.tag == kind.removesuffix('s')
            assert re.fullmatch(r'(~?/)?\w+', str(expression.text)), 'a name without wildcards'


def test_sros2_reads_the_policy() -> None:
    policy = pytest.importorskip('sros2.policy', reason='sros2 is only in an apt ROS')
    assert policy.load_policy(POLICY).find('enclaves/enclave').get('path') == '/tracker'


def test_the_policy_allows_what_the_node_uses(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    start_node(use_sim_time=True).wait_for('waiting for images')  # subscribes to /clock
    assert_uses(make_peer(), '/tracker', allowed_names(POLICY)['/tracker'])


def test_the_documented_policy_of_several_cameras(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer], tmp_path: Path
) -> None:
    commands = re.findall(r'^```bash\n(.+?)^```', GUIDE.read_text(), re.M | re.S)
    script = next(text for text in commands if '> cameras.policy.xml' in text)
    environment = {**os.environ, 'POLICY': str(POLICY)}
    subprocess.run(['bash', '-e', '-c', script], cwd=tmp_path, env=environment, check=True)
    policy = allowed_names(tmp_path / 'cameras.policy.xml')
    assert policy.keys() == {'/front/tracker', '/rear/tracker'}
    cameras = [f'--camera={name}=/{name}/image_raw' for name in ('front', 'rear')]
    node = start_node(arguments=cameras, use_sim_time=True)
    for topic in ('/front/image_raw', '/rear/image_raw'):
        node.wait_for(f'waiting for images on {topic}')
    peer = make_peer()
    for name, expected in policy.items():
        assert_uses(peer, name, expected)


# Enclaves


@contextmanager
def make_node(name: str) -> Iterator[Node]:
    """Create a node in this process with the security settings of the environment."""
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield rclpy.create_node(name, context=context)
    finally:
        rclpy.shutdown(context=context)


def make_keystore(folder: Path, enclaves: Mapping[str, Names]) -> None:
    """Write keys and signed permissions of enclaves, as `ros2 security` does."""
    domain = os.environ['ROS_DOMAIN_ID']
    new_key = 'req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    folder.mkdir()
    openssl(folder, f'{new_key} -x509 -subj /CN=ca -keyout ca.key -out ca.pem')
    for enclave, names in enclaves.items():
        subdir = f'enclaves{enclave}'
        (folder / subdir).mkdir(parents=True)
        subject = '/CN=' + enclave.replace('/', r'\/')
        openssl(folder, f'{new_key} -subj {subject} -keyout {subdir}/key.pem -out {subdir}/csr')
        signer = '-CA ca.pem -CAkey ca.key -CAcreateserial'
        openssl(folder, f'x509 -req -in {subdir}/csr -out {subdir}/cert.pem {signer}')
        for authority in ('identity_ca', 'permissions_ca'):
            shutil.copy(folder / 'ca.pem', folder / subdir / f'{authority}.cert.pem')
        texts = {
            'governance': GOVERNANCE.format(domain=domain),
            'permissions': permissions(enclave, names, domain),
        }
        for name, text in texts.items():
            (folder / subdir / f'{name}.xml').write_text(text)
            files = f'-in {subdir}/{name}.xml -out {subdir}/{name}.p7s'
            openssl(folder, f'smime -sign -text {files} -signer ca.pem -inkey ca.key')


def openssl(folder: Path, options: str) -> None:
    """Run openssl in a folder."""
    subprocess.run(['openssl', *options.split()], cwd=folder, check=True, capture_output=True)


def permissions(enclave: str, names: Names, domain: str) -> str:
    """Return the DDS permissions for the names that a policy allows."""
    writes, reads = (
        sorted(
            [DISCOVERY_TOPIC]
            + [
                DDS_TOPICS[verb][side].format(name)
                for verb, allowed in names.items()
                if DDS_TOPICS[verb][side]
                for name in allowed
            ]
        )
        for side in (0, 1)
    )
    now = datetime.now(timezone.utc)
    begin, end = (f'{now + timedelta(days):%Y-%m-%dT%H:%M:%S}' for days in (-1, 1))
    return PERMISSIONS.format(
        enclave=enclave,
        domain=domain,
        begin=begin,
        end=end,
        writes=''.join(f'<topic>{topic}</topic>' for topic in writes),
        reads=''.join(f'<topic>{topic}</topic>' for topic in reads),
    )


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that enables security with the keys of an enclave for new nodes."""

    def use_enclave(enclave: str) -> None:
        monkeypatch.setenv('ROS_SECURITY_ENABLE', 'true')
        monkeypatch.setenv('ROS_SECURITY_STRATEGY', 'Enforce')
        monkeypatch.setenv('ROS_SECURITY_KEYSTORE', str(tmp_path / 'keystore'))
        monkeypatch.setenv('ROS_SECURITY_ENCLAVE_OVERRIDE', enclave)

    return use_enclave


def test_the_node_does_not_start_without_keys(
    start_node: Callable[..., NodeProcess], secure: Callable[[str], None]
) -> None:
    secure('/tracker')
    node = start_node()
    assert node.process.wait(40) == 1
    assert 'waiting for images' not in node.log_text()
    assert 'security' in node.log_text().lower()


def test_an_enclave_excludes_nodes_without_permission(
    start_node: Callable[..., NodeProcess],
    make_peer: Callable[..., Peer],
    secure: Callable[[str], None],
    clip: Scene,
    tmp_path: Path,
) -> None:
    if not shutil.which('openssl'):
        pytest.skip('openssl is not installed')
    outsider = make_peer()  # created before security is enabled, so it has no keys
    outsider.until(lambda: used_names(outsider.node, '/peer'), 'discovery of the own node')
    permitted = used_names(outsider.node, '/peer')
    restricted = {**permitted, 'request': permitted['request'] - {'/tracker/init_target'}}
    enclaves = {
        '/tracker': allowed_names(POLICY)['/tracker'],
        '/user': permitted,
        '/other': restricted,
    }
    make_keystore(tmp_path / 'keystore', enclaves)
    secure('/user')
    try:
        with make_node('peer'):
            pass
    except RuntimeError as error:
        if "doesn't have the security libraries" not in str(error):
            raise
        pytest.skip(
            f'ROS on this machine does not support security: {" ".join(str(error).split())}'
        )
    secure('/tracker')
    start_node()
    secure('/user')
    user = make_peer()
    user.wait_for_node()
    user.track(clip.images[0], SECOND)
    assert user.init(clip.boxes[0], SECOND, 'car').success
    assert user.track(clip.images[1], 2 * SECOND).state == State.TRACKING
    assert user.detected_ids(2 * SECOND) == ['car']
    secure('/other')
    with make_node('peer') as other:
        client = other.create_client(ListTargets, '/tracker/list_targets')
        user.until(client.service_is_ready, 'a service that /other may use')
        with pytest.raises(RuntimeError):
            other.create_client(InitTarget, '/tracker/init_target')
    assert not outsider.clients['init_target'].service_is_ready()
    assert not outsider.camera.get_subscription_count() and not outsider.statuses


# No code executes the data it reads


UNSAFE_MODULES = {'pickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib'}
ALLOWED_NAMES = {'pickle.UnpicklingError'}  # an exception
UNSAFE_CALLS = {'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen'}
UNSAFE_CALLS |= {'torch.jit.load', 'torch.hub.load', 'yaml.unsafe_load'}
REQUIRED_ARGUMENTS = {  # the argument that makes a call safe
    'torch.load': 'weights_only=True',
    'YAML': "typ='safe'",
    'yaml.load': 'Loader=yaml.SafeLoader',
}
FORBIDDEN_ARGUMENTS = {'shell=True', 'allow_pickle=True'}


def unsafe_names(source: str) -> list[str]:
    """Return what in this Python source may execute the data it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            renamed = {alias.name for alias in node.names if alias.asname}
            found += sorted(renamed & (UNSAFE_MODULES | {'torch', 'yaml', 'os'}))
        elif isinstance(node, ast.ImportFrom):
            names = {f'{node.module}.{alias.name}' for alias in node.names}
            found += [name for name in sorted(names - ALLOWED_NAMES) if is_unsafe(name)]
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.partition('.')[0] in UNSAFE_MODULES and name not in ALLOWED_NAMES:
                found.append(name)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            arguments = {ast.unparse(keyword) for keyword in node.keywords}
            if name in UNSAFE_CALLS or REQUIRED_ARGUMENTS.get(name, '') not in {'', *arguments}:
                found.append(name)
            else:
                found += sorted(arguments & FORBIDDEN_ARGUMENTS)
    return found


def is_unsafe(name: str) -> bool:
    """Return whether a name imported with "from" may execute data."""
    unsafe = UNSAFE_CALLS | {'torch.load', 'yaml.load'}
    return name.partition('.')[0] in UNSAFE_MODULES or name in unsafe


@pytest.mark.parametrize(
    'source',
    [
        'import pickle; pickle.loads(data)',
        'import pickle as safe',
        'from pickle import load',
        'marshal.load(file)',
        'shelve.open(path)',
        'eval(text)',
        'exec(text)',
        'torch.load(path)',
        'torch.load(path, weights_only=False)',
        'from torch import load',
        'yaml.load(text)',
        "YAML(typ='unsafe')",
        'YAML()',
        'np.load(path, allow_pickle=True)',
        'subprocess.run(text, shell=True)',
        'os.system(text)',
    ],
)
def test_unsafe_code_is_found(source: str) -> None:
    assert unsafe_names(source)


@pytest.mark.parametrize('package', ['siamffn_ros', 'siamffn_model'])
def test_no_code_executes_the_data_it_reads(package: str) -> None:
    files = sorted((ROOT / package).rglob('*.py'))
    assert files
    found = {str(path.relative_to(ROOT)): unsafe_names(path.read_text()) for path in files}
    assert not {path: names for path, names in found.items() if names}


def test_safe_code_is_not_reported() -> None:
    assert not unsafe_names(
        'import pickle\n'
        'model.eval()\n'
        'torch.load(path, weights_only=True)\n'
        "YAML(typ='safe', pure=True)\n"
        're.compile(text)\n'
        'pickle.UnpicklingError\n'
    )
