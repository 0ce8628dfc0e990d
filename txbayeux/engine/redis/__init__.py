"""Many front-ends, one service: sessions and the log in Redis.

Nothing here is imported unless it is asked for: it needs ``txredisapi`` and
``hiredis``.
"""

from txbayeux.engine.redis.engine import RedisEngine
from txbayeux.engine.redis.options import RedisOptions

__all__ = ["RedisEngine", "RedisOptions"]
