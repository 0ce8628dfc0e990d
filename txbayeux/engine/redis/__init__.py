"""The Redis engine: several nodes that share sessions and a log in Redis.

Importing this installs no reactor; making an engine imports txredisapi, which does.

:raises ImportError: without the packages of the ``redis`` extra.
"""

from importlib.util import find_spec

from txbayeux.engine.redis.engine import RedisEngine
from txbayeux.engine.redis.options import RedisOptions

__all__ = ["RedisEngine", "RedisOptions"]

if find_spec("txredisapi") is None or find_spec("hiredis") is None:
    raise ImportError("Redis needs more: pip install 'txbayeux[redis]'")
