-- Functions moved to a folder and changed: this number keeps an older release from restoring its own.

select 1;
