"""Accept tasks with FastAPI and SQLAlchemy as in their documentation: pydantic bodies, a session per request, models.

It runs in a separate environment and uses the tables of Framehouse. Its arguments are PORT and DATABASE.
"""

import hashlib
import sys
import time
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, ClassVar

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import ARRAY, BigInteger, ForeignKey, LargeBinary, SmallInteger, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

port, database = int(sys.argv[1]), sys.argv[2]
engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"), pool_size=16)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {int: BigInteger}


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    disabled: Mapped[bool]
    concurrency: Mapped[int]
    images_in_flight: Mapped[int]
    units_limit: Mapped[int | None]
    units_reserved: Mapped[int]
    units_used: Mapped[int]


class Key(Base):
    __tablename__ = "api_keys"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    revoked_at: Mapped[datetime | None]


class Task(Base):
    __tablename__ = "tasks"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    external_task_id: Mapped[str | None]
    model: Mapped[str]
    prompt: Mapped[str]
    elements: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    result_type: Mapped[str]
    image_count: Mapped[int] = mapped_column(SmallInteger)
    resolution: Mapped[str]
    ratio: Mapped[str]
    watermark: Mapped[bool]
    units_reserved: Mapped[int]


class Shot(Base):
    __tablename__ = "shots"
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    index: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    prompt: Mapped[str]
    framing: Mapped[str]
    seed: Mapped[int]


class Batch(Base):
    __tablename__ = "batches"
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"))
    model: Mapped[str]
    shot_indexes: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))


class Body(BaseModel):
    model_name: str = Field(max_length=200)
    prompt: str = Field(min_length=1, max_length=2500)
    n: int = Field(1, ge=1, le=9)
    resolution: str = "1k"
    aspect_ratio: str = "1:1"
    external_task_id: str | None = None


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened_session:
        yield opened_session


app = FastAPI()


@app.post("/kling/v1/images/omni-image")
async def create(
    body: Body, db: Annotated[AsyncSession, Depends(session)], authorization: Annotated[str, Header()]
) -> dict[str, Any]:
    key_hash = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
    key = await db.scalar(select(Key).where(Key.hash == key_hash, Key.revoked_at.is_(None)))
    if key is None:
        raise HTTPException(401)
    account = await db.scalar(select(Account).where(Account.id == key.account_id).with_for_update())
    if account is None or account.disabled or account.images_in_flight + body.n > account.concurrency:
        raise HTTPException(429)
    if body.external_task_id and await db.scalar(
        select(Task.id).where(Task.account_id == account.id, Task.external_task_id == body.external_task_id)
    ):
        raise HTTPException(400)
    account.images_in_flight += body.n
    account.units_reserved += 8 * body.n
    task = Task(
        id=uuid.uuid4(),
        account_id=account.id,
        external_task_id=body.external_task_id,
        model=body.model_name,
        prompt=body.prompt,
        elements=[],
        result_type="single",
        image_count=body.n,
        resolution=body.resolution,
        ratio=body.aspect_ratio,
        watermark=False,
        units_reserved=8 * body.n,
    )
    db.add(task)
    await db.flush()
    db.add_all(Shot(task_id=task.id, index=i, prompt=body.prompt, framing="", seed=i) for i in range(body.n))
    db.add_all(Batch(task_id=task.id, model=body.model_name, shot_indexes=[i]) for i in range(body.n))
    await db.commit()
    return {"code": 0, "data": {"task_id": str(task.id), "task_status": "submitted", "created_at": int(time.time())}}


uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
