"""A command of Django: copy it to APPLICATION/management/commands/follow.py

Then: python manage.py follow http://localhost:8000/bayeux /chat
"""

import asyncio

from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand, CommandError

from txbayeux import BayeuxError
from txbayeux.aio import Client


class Command(BaseCommand):
    help = "Handle the messages of a channel until it is interrupted."

    def add_arguments(self, parser):
        parser.add_argument("url")
        parser.add_argument("channel")

    def handle(self, *, url, channel, **options):
        try:
            asyncio.run(self.follow(url, channel))
        except BayeuxError as error:
            raise CommandError(f"refused: {error}") from error
        except KeyboardInterrupt:
            pass

    async def follow(self, url, channel):
        async with Client(url) as client:
            async for message in client.subscribe(channel):
                await sync_to_async(self.save)(message["data"])

    def save(self, data):
        """Called in a thread: use the ORM here."""
        self.stdout.write(str(data))
