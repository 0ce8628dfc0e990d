"""A web application that publishes and listens: fastapi dev examples/fastapi_app.py

Then open http://localhost:8000/docs to call it.  BAYEUX_URL is the Bayeux server's URL.
"""

import os
from collections import deque
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from txbayeux import BayeuxError
from txbayeux.aio import Client

URL = os.environ.get("BAYEUX_URL", "http://localhost:8080/bayeux")
said: deque[Any] = deque(maxlen=10)


async def listen(message) -> None:
    said.append(message["data"])


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with Client(URL) as client:
        client.subscribe("/chat", listen)
        yield {"bayeux": client}


app = FastAPI(lifespan=lifespan)


class Line(BaseModel):
    text: str


@app.get("/said")
async def what_was_said() -> list[Any]:
    return list(said)


@app.post("/said")
async def say(line: Line, request: Request) -> None:
    try:
        await request.state.bayeux.publish("/chat", line.text, deadline=5)
    except BayeuxError as error:
        raise HTTPException(503, str(error)) from error
